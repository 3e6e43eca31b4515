#!/bin/sh
# One pair for the group "ssh" of spec/bench/run: ssh_pair.sh WHO DIR PORT PORT2 TIDEGATE
# WHO: openssh, and with tidegate as server, client, both, or tunnel (both, the transport ssh).  SOCKS5 on PORT.
set -e
who=$1 dir=$2 port=$3 port2=$4 tidegate=$5
cipher=aes128-gcm@openssh.com # what two tidegates choose
export GOST_LOGGER_LEVEL=fatal
rm -f "$dir/hostkey" "$dir/hostkey.pub" "$dir/auth" "$dir/auth.pub"
ssh-keygen -q -t ed25519 -N '' -f "$dir/hostkey"
ssh-keygen -q -t ed25519 -N '' -f "$dir/auth"

ours()
{
    exec "$tidegate" --workers 1 --repl off "$@"
}

case $who in
openssh | client)
    cat >"$dir/sshd.conf" <<END
Port $port2
ListenAddress 127.0.0.1
HostKey $dir/hostkey
AuthorizedKeysFile $dir/auth.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
LogLevel QUIET
UseDNS no
END
    mkdir -p /run/sshd
    /usr/sbin/sshd -D -e -f "$dir/sshd.conf" &
    ;;
server | both)
    ours -L "sshd://127.0.0.1:$port2?privateKeyFile=$dir/hostkey&authorizedKeys=$dir/auth.pub" &
    ;;
tunnel)
    ours -L "relay+ssh://127.0.0.1:$port2?privateKeyFile=$dir/hostkey&authorizedKeys=$dir/auth.pub" &
    ;;
esac
sleep 0.5
case $who in
openssh | server)
    ssh -N -F none -i "$dir/auth" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=QUIET \
        -o Ciphers=$cipher -D "127.0.0.1:$port" -p "$port2" root@127.0.0.1 &
    ;;
client | both)
    ours -L "socks5://127.0.0.1:$port" -F "sshd://root@127.0.0.1:$port2?privateKeyFile=$dir/auth" &
    ;;
tunnel)
    ours -L "socks5://127.0.0.1:$port" -F "relay+ssh://root@127.0.0.1:$port2?privateKeyFile=$dir/auth" &
    ;;
esac
wait
