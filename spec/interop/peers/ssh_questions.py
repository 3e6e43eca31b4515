"""An SSH server that forwards ports and asks for the password as a question only: ssh_questions.py PORT KEY PASSWORD"""
import socket
import sys
import threading

import paramiko

port, key_file, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
key = paramiko.RSAKey.from_private_key_file(key_file, "phrase")


class Server(paramiko.ServerInterface):
    def __init__(self):
        self.targets = {}

    def get_allowed_auths(self, username):
        return "keyboard-interactive"

    def check_auth_interactive(self, username, submethods):
        return paramiko.InteractiveQuery("welcome", "", ("Password: ", False), ("Again: ", False))

    def check_auth_interactive_response(self, responses):
        return paramiko.AUTH_SUCCESSFUL if responses == [password, password] else paramiko.AUTH_FAILED

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        self.targets[chanid] = destination
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


def serve(sock):
    transport = paramiko.Transport(sock)
    transport.add_server_key(key)
    server = Server()
    try:
        transport.start_server(server=server)
    except (paramiko.SSHException, EOFError):
        return
    while transport.is_active():
        channel = transport.accept(1)
        if channel is None:
            continue
        target = socket.create_connection(server.targets[channel.get_id()])
        threading.Thread(target=copy, args=(channel, target), daemon=True).start()
        threading.Thread(target=copy, args=(target, channel), daemon=True).start()


listener = socket.create_server(("127.0.0.1", port))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
