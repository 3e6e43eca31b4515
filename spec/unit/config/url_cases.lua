-- Command lines and what gost prints for them with -O yaml.

return {
  {
    {
      "-L",
      "http://user:pass@:8080",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: http
      auth:
        username: user
        password: pass
    listener:
      type: tcp
]],
  },
  {
    {
      "-L",
      ":8080",
      "-F",
      "http://h:80",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: auto
      chain: chain-0
    listener:
      type: tcp
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: h:80
            connector:
              type: http
            dialer:
              type: tcp
              tls:
                serverName: h
]],
  },
  {
    {
      "-L",
      "socks5+tls://u:p@:1080?cert=c.pem&key=k.pem&ca=ca.pem&udp=true&notls=true",
    },
    [[
services:
  - name: service-0
    addr: :1080
    handler:
      type: socks5
      auth:
        username: u
        password: p
      metadata:
        notls: "true"
        udp: "true"
    listener:
      type: tls
      tls:
        certFile: c.pem
        keyFile: k.pem
        caFile: ca.pem
      metadata:
        notls: "true"
        udp: "true"
    metadata:
      notls: "true"
      udp: "true"
]],
  },
  {
    {
      "-L",
      "tcp://:8080/192.168.1.1:80,192.168.1.2:80?strategy=fifo&maxFails=3&failTimeout=10s",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: tcp
    listener:
      type: tcp
    forwarder:
      selector:
        strategy: fifo
        maxFails: 3
        failTimeout: 10s
      nodes:
        - name: target-0
          addr: 192.168.1.1:80
        - name: target-1
          addr: 192.168.1.2:80
]],
  },
  {
    {
      "-L",
      "tcp://:8000-8001/10.0.0.1:9000-9001",
    },
    [[
services:
  - name: service-0
    addr: :8000
    handler:
      type: tcp
    listener:
      type: tcp
    forwarder:
      nodes:
        - name: target-0
          addr: 10.0.0.1:9000
  - name: service-1
    addr: :8001
    handler:
      type: tcp
    listener:
      type: tcp
    forwarder:
      nodes:
        - name: target-1
          addr: 10.0.0.1:9001
]],
  },
  {
    {
      "-L",
      "rtcp://:2222/192.168.1.1:22",
      "-F",
      "relay+wss://u:p@example.com:443?path=/tun",
    },
    [[
services:
  - name: service-0
    addr: :2222
    handler:
      type: rtcp
    listener:
      type: rtcp
      chain: chain-0
    forwarder:
      nodes:
        - name: target-0
          addr: 192.168.1.1:22
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: example.com:443
            connector:
              type: relay
              auth:
                username: u
                password: p
              metadata:
                path: /tun
            dialer:
              type: wss
              tls:
                serverName: example.com
              metadata:
                path: /tun
            metadata:
              path: /tun
        metadata:
          path: /tun
]],
  },
  {
    {
      "-L",
      "http://:8080?bypass=~10.0.0.0/8,*.example.com&admission=192.168.0.0/16&resolver=1.1."
        .. "1.1,tls://8.8.8.8:853&prefer=ipv6&hosts=a.com:1.2.3.4,b.com:::1",
    },
    [[
services:
  - name: service-0
    addr: :8080
    admission: admission-0
    bypass: bypass-0
    resolver: resolver-0
    hosts: hosts-0
    handler:
      type: http
      metadata:
        prefer: ipv6
    listener:
      type: tcp
      metadata:
        admission: 192.168.0.0/16
        bypass: ~10.0.0.0/8,*.example.com
        hosts: a.com:1.2.3.4,b.com:::1
        prefer: ipv6
        resolver: 1.1.1.1,tls://8.8.8.8:853
    metadata:
      admission: 192.168.0.0/16
      bypass: ~10.0.0.0/8,*.example.com
      hosts: a.com:1.2.3.4,b.com:::1
      prefer: ipv6
      resolver: 1.1.1.1,tls://8.8.8.8:853
admissions:
  - name: admission-0
    matchers:
      - 192.168.0.0/16
bypasses:
  - name: bypass-0
    whitelist: true
    matchers:
      - 10.0.0.0/8
      - '*.example.com'
resolvers:
  - name: resolver-0
    nameservers:
      - addr: 1.1.1.1
        prefer: ipv6
      - addr: tls://8.8.8.8:853
        prefer: ipv6
hosts:
  - name: hosts-0
    mappings:
      - ip: 1.2.3.4
        hostname: a.com
      - ip: ::1
        hostname: b.com
]],
  },
  {
    {
      "-L",
      "http://:8080?limiter.in=100MB&limiter.conn.out=10KB&climiter=100&rlimiter=10.5&retri"
        .. "es=2",
    },
    [[
services:
  - name: service-0
    addr: :8080
    limiter: limiter-0
    climiter: climiter-0
    rlimiter: rlimiter-0
    handler:
      type: http
      retries: 2
    listener:
      type: tcp
      metadata:
        climiter: "100"
        limiter.conn.out: 10KB
        limiter.in: 100MB
        retries: "2"
        rlimiter: "10.5"
    metadata:
      climiter: "100"
      limiter.conn.out: 10KB
      limiter.in: 100MB
      retries: "2"
      rlimiter: "10.5"
limiters:
  - name: limiter-0
    limits:
      - '$ 100MB '
      - $$ 0 10KB
climiters:
  - name: climiter-0
    limits:
      - $ 100
rlimiters:
  - name: rlimiter-0
    limits:
      - $ 10.5
]],
  },
  {
    {
      "-L",
      ":8080",
      "-F",
      "socks5://h1:1080",
      "-F",
      "relay+tls://h2,h3:443?maxFails=2&node.backup=true",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: auto
      chain: chain-0
    listener:
      type: tcp
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: h1:1080
            connector:
              type: socks5
            dialer:
              type: tcp
              tls:
                serverName: h1
      - name: hop-1
        selector:
          strategy: round
          maxFails: 2
          failTimeout: 30s
        nodes:
          - name: node-0
            addr: h2
            connector:
              type: relay
            dialer:
              type: tls
              tls:
                serverName: h2,h3
            metadata:
              backup: "true"
          - name: node-1
            addr: h3:443
            connector:
              type: relay
            dialer:
              type: tls
              tls:
                serverName: h2,h3
            metadata:
              backup: "true"
]],
  },
  {
    {
      "-L",
      ":8080",
      "-F",
      "socks5+tls://u:p@1.2.3.4:1080?secure=true&serverName=example.com&interface=eth0&so_m"
        .. "ark=100",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: auto
      chain: chain-0
    listener:
      type: tcp
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: 1.2.3.4:1080
            connector:
              type: socks5
              auth:
                username: u
                password: p
            dialer:
              type: tls
              tls:
                secure: true
                serverName: example.com
        metadata:
          interface: eth0
          secure: "true"
          serverName: example.com
          so_mark: 100
]],
  },
  {
    {
      "-L",
      "dns://:10053/tls://1.1.1.1:853,https://1.0.0.1/dns-query?mode=udp",
    },
    [[
services:
  - name: service-0
    addr: :10053
    handler:
      type: dns
      metadata:
        mode: udp
    listener:
      type: dns
      metadata:
        mode: udp
    forwarder:
      nodes:
        - name: target-0
          addr: tls://1.1.1.1:853
        - name: target-1
          addr: https://1.0.0.1/dns-query
    metadata:
      mode: udp
]],
  },
  {
    {
      "-L",
      "relay://:8421/:53?handler.nodelay=true&listener.reuseport=true&service.foo=bar",
      "-L",
      "unix:///var/run/a.sock",
      "-L",
      "unix://a.sock/b.sock",
      "-api",
      "user:pass@:18080?pathPrefix=/api&accesslog=true",
      "-metrics",
      ":9000?path=/m",
      "-DD",
    },
    [[
services:
  - name: service-0
    addr: :8421
    handler:
      type: relay
      metadata:
        nodelay: "true"
    listener:
      type: tcp
      metadata:
        reuseport: "true"
    forwarder:
      nodes:
        - name: target-0
          addr: :53
    metadata:
      foo: bar
  - name: service-1
    addr: /var/run/a.sock
    handler:
      type: unix
    listener:
      type: unix
  - name: service-2
    addr: a.sock
    handler:
      type: unix
    listener:
      type: unix
    forwarder:
      nodes:
        - name: target-0
          addr: b.sock
log:
  level: trace
api:
  addr: :18080
  pathPrefix: /api
  accesslog: true
  auth:
    username: user
    password: pass
metrics:
  addr: :9000
  path: /m
]],
  },
  {
    {
      "-L",
      "http://:8080?netns=ns1&netns.out=ns2&interface=eth0&proxyProtocol=1&enableStats=true",
      "-F",
      "http://h1:80?auth=eDp5&node.weight=2&connector.timeout=3s&dialer.keepalive=true&hop."
        .. "netns=ns9",
    },
    [[
services:
  - name: service-0
    addr: :8080
    handler:
      type: http
      chain: chain-0
      metadata:
        enableStats: "true"
    listener:
      type: tcp
      metadata:
        enableStats: "true"
    metadata:
      enableStats: "true"
      interface: eth0
      netns: ns1
      netns.out: ns2
      proxyProtocol: 1
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: h1:80
            connector:
              type: http
              auth:
                username: x
                password: "y"
              metadata:
                timeout: 3s
            dialer:
              type: tcp
              tls:
                serverName: h1
              metadata:
                keepalive: "true"
            metadata:
              weight: "2"
        metadata:
          auth: eDp5
          netns: ns9
]],
  },
  {
    {
      "-L",
      "ss://YWVzLTEyOC1nY206cGFzcw@:8338",
      "-L",
      "stdio://example.com:22",
      "-F",
      "ssh://u:p@host:22?privateKeyFile=/id_rsa",
    },
    [[
services:
  - name: service-0
    addr: :8338
    handler:
      type: ss
      chain: chain-0
      auth:
        username: aes-128-gcm
        password: pass
    listener:
      type: tcp
  - name: service-1
    addr: example.com:22
    handler:
      type: tcp
      chain: chain-0
    listener:
      type: stdio
    forwarder:
      nodes:
        - name: target-0
          addr: example.com:22
chains:
  - name: chain-0
    hops:
      - name: hop-0
        nodes:
          - name: node-0
            addr: host:22
            connector:
              type: http
              metadata:
                privateKeyFile: /id_rsa
            dialer:
              type: ssh
              auth:
                username: u
                password: p
              tls:
                serverName: host
              metadata:
                privateKeyFile: /id_rsa
            metadata:
              privateKeyFile: /id_rsa
        metadata:
          privateKeyFile: /id_rsa
]],
  },
}
