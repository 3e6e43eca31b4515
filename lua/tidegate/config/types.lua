-- The component types gost registers.  The command line maps a scheme by these lists, whether the
-- component is part of this build or not; whether it is there is the business of validation.

local types = {}

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
    list[word] = true
  end
  return list
end

types.handler = words [[
  api auto dns file forward http http2 http3 masque metrics red redir redirect redu relay router
  rtcp rudp runix serial sni socks socks4 socks4a socks5 ss sshd ssu tap tcp tun tungo tunnel udp
  unix]]

types.listener = words [[
  dns dtls ftcp grpc h2 h2c h3 http2 http3 icmp icmp6 kcp mtcp mtls mws mwss ohttp otls pht phts
  quic red redir redirect redu rtcp rudp runix serial ssh sshd stdio tap tcp tls tun tungo udp unix
  ws wss wt]]

types.dialer = words [[
  direct dtls ftcp grpc h2 h2c h3 h3-masque http2 http3 icmp icmp6 kcp mtcp mtls mws mwss ohttp
  ohttps otls pht phts quic serial ssh sshd tcp tls udp unix utls virtual ws wss wt]]

types.connector = words [[
  direct forward http http2 masque relay router serial sni socks socks4 socks4a socks5 ss sshd ssu
  tcp tunnel unix virtual]]

return types
