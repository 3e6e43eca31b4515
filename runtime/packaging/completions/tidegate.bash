# Completion of tidegate for bash; made by ./dev docs.

_tidegate_url()
{
    local word=$1 first=$2 second=$3 head=
    case $word in
    *:*) return ;;
    *+*) head=${word%%+*}+ first=$second ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$head" -S "://" -W "$first" -- "${word#"$head"}")
    compopt -o nospace
}

_tidegate()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $before in
    -L|--L) _tidegate_url "$word" "api auto file forward grpc h2 h2c http http2 metrics mtcp mtls mws mwss ohttp otls pht phts red redir redirect relay rtcp rudp runix serial sni socks socks4 socks4a socks5 ss ssh sshd ssu stdio tcp tls udp unix ws wss" "grpc h2 h2c http2 mtcp mtls mws mwss ohttp otls pht phts red redir redirect rtcp rudp runix serial ssh sshd stdio tcp tls udp unix ws wss" ;;
    -F|--F) _tidegate_url "$word" "direct forward grpc h2 h2c http http2 mtcp mtls mws mwss ohttp ohttps otls pht phts relay serial sni socks socks4 socks4a socks5 ss ssh sshd ssu tcp tls udp unix utls virtual ws wss" "direct grpc h2 h2c http2 mtcp mtls mws mwss ohttp ohttps otls pht phts serial ssh sshd tcp tls udp unix utls virtual ws wss" ;;
    -C|--C|-repl|--repl|-socket|--socket|-rocks-tree|--rocks-tree|-dev-lua|--dev-lua) mapfile -t COMPREPLY < <(compgen -f -- "$word"); compopt -o filenames ;;
    -O|--O) mapfile -t COMPREPLY < <(compgen -W "yaml json" -- "$word") ;;
    -worker|--worker) mapfile -t COMPREPLY < <(compgen -W "control all" -- "$word") ;;
    -sort|--sort) mapfile -t COMPREPLY < <(compgen -W "rate bytes input output age" -- "$word") ;;
    -to|--to) mapfile -t COMPREPLY < <(compgen -W "yaml json lua url" -- "$word") ;;
    -api|--api|-metrics|--metrics|-R|--R|-workers|--workers|-drain|--drain|-n|--n|-every|--every) ;;
    *)
        local words="-L -F -C -O -D -DD -V -api -metrics -R -workers -drain -repl -socket -worker -n -once -every -sort -to -rocks-tree -dev-lua"
        [ "$COMP_CWORD" = 1 ] && words="check doc init convert repl top upgrade eval $words"
        case $word in
        --*) words=${words// -/ --} ;;
        esac
        [ "$COMP_CWORD" = 2 ] && [ "${COMP_WORDS[1]}" = doc ] && words="admission api auth auther auto body_rewrite bypass cache cache_memory cache_redis chain chain_group chain_group_entry connector dialer direct file file_loader filter forward forward_node forwarder grpc h2 h2c handler hop hop_group hop_group_entry hosts http http2 http_loader http_node ingress ingress_rule limiter listener lockout log logger mapping matcher metrics mmdb mtcp mtls mws mwss nameserver node observer ohttp ohttps otls pht phts plugin probe profiling quota quota_store recorder recorder_file recorder_http recorder_tcp recorder_use red redir redirect redis_loader relay resolver rewriter root rotation route router rtcp rudp ruleset runix sd selector serial service sni sockopts socks socks4 socks4a socks5 ss ssh sshd ssu stdio tcp tls tls_node tls_options udp unix url_rewrite utls virtual ws wss"
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        case ${COMP_WORDS[1]} in
        init|convert)
            [ "${word#-}" = "$word" ] || return
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
            ;;
        esac
        ;;
    esac
}

complete -F _tidegate tidegate
