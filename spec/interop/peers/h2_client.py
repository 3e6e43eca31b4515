"""One or many requests over one HTTP/2 connection, by the h2 library.

h2_client.py PORT JSON...: each argument is a request {"headers": [[name, value]...], "body": text,
"chunks": number of pieces}.  Prints a JSON line for each: {"status", "headers", "length", "md5", "reset"}.
"""

import hashlib
import json
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events


def connect(port):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))
    assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
    return sock


def send(conn, sock, stream, state):
    """Send what the windows let through."""
    while state["left"] is not None:
        room = min(conn.local_flow_control_window(stream), conn.max_outbound_frame_size, state["piece"])
        part = state["left"][:room]
        if not part and state["left"]:
            return
        state["left"] = state["left"][len(part):]
        over = not state["left"]
        conn.send_data(stream, part, end_stream=over and not state["open"])
        if over:
            state["left"] = None
    sock.sendall(conn.data_to_send())


def main():
    sock = connect(int(sys.argv[1]))
    conn = h2.connection.H2Connection(config=h2.config.H2Configuration(
        client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
    conn.initiate_connection()
    conn.increment_flow_control_window(1 << 26)
    states = {}
    for text in sys.argv[2:]:
        request = json.loads(text)
        stream = conn.get_next_available_stream_id()
        body = request.get("body")
        connect_method = [":method", "CONNECT"] in request["headers"]
        conn.send_headers(stream, [tuple(field) for field in request["headers"]],
                          end_stream=body is None and not connect_method)
        body = body.encode() * request.get("times", 1) if body is not None else None
        states[stream] = {
            "left": body, "piece": request.get("piece", 16384), "open": connect_method,
            "status": None, "headers": {}, "data": bytearray(), "over": False, "reset": None,
        }
    for stream, state in states.items():
        send(conn, sock, stream, state)
    sock.sendall(conn.data_to_send())
    while not all(state["over"] for state in states.values()):
        data = sock.recv(65536)
        if not data:
            break
        for event in conn.receive_data(data):
            state = states.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ResponseReceived):
                state["headers"] = dict(event.headers)
                state["status"] = state["headers"].pop(":status")
            elif isinstance(event, h2.events.DataReceived):
                state["data"] += event.data
                conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                state["over"] = True
            elif isinstance(event, h2.events.StreamReset):
                if not state["over"]:
                    state["reset"] = int(event.error_code)
                state["over"] = True
        for stream, state in states.items():
            if state["left"] is not None and not state["over"]:
                send(conn, sock, stream, state)
        sock.sendall(conn.data_to_send())
    for state in states.values():
        print(json.dumps({
            "status": state["status"], "headers": state["headers"], "length": len(state["data"]),
            "md5": hashlib.md5(state["data"]).hexdigest(), "reset": state["reset"],
            "text": bytes(state["data"][:200]).decode("latin-1"),
        }))


main()
