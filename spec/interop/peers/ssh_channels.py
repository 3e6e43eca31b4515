"""An SSH server by paramiko, with channels of gost's type: ssh_channels.py PORT KEY TARGET [SECONDS]

Every channel, of the type gost-tunnel or direct-tcpip, leads to the port TARGET of this machine; it is agreed to after
SECONDS.  One that the client closes is told as "closed".  The user is "u", the password "p".
"""
import socket
import sys
import threading
import time

import paramiko

port, key_file, target = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 0
key = paramiko.RSAKey.from_private_key_file(key_file, "phrase")


class Server(paramiko.ServerInterface):
    def get_allowed_auths(self, username):
        return "password"

    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL if (username, password) == ("u", "p") else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        time.sleep(seconds)
        known = kind == "gost-tunnel"
        return paramiko.OPEN_SUCCEEDED if known else paramiko.OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        time.sleep(seconds)
        return paramiko.OPEN_SUCCEEDED


def copy(source, sink):
    while True:
        part = source.recv(32768)
        if not part:
            break
        sink.sendall(part)
    try:
        sink.shutdown(1)
    except (OSError, EOFError):
        pass


def join(channel):
    out = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=copy, args=(out, channel), daemon=True).start()
    copy(channel, out)
    while not channel.closed:
        time.sleep(0.01)
    print("closed", flush=True)


def serve(sock):
    transport = paramiko.Transport(sock)
    transport.add_server_key(key)
    try:
        transport.start_server(server=Server())
    except (paramiko.SSHException, EOFError):
        return
    while transport.is_active():
        channel = transport.accept(1)
        if channel is not None:
            threading.Thread(target=join, args=(channel,), daemon=True).start()


listener = socket.create_server(("127.0.0.1", port))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
