"""A gRPC service with a unary and a bidirectional method, and a client that checks both.

grpc_echo.py serve PORT | grpc_echo.py check HOST:PORT
"""

import sys
from concurrent import futures

import grpc


def reverse(request, _context):
    return request[::-1]


def chat(requests, _context):
    for request in requests:
        yield request * 2


def serve(port):
    methods = {
        "Reverse": grpc.unary_unary_rpc_method_handler(reverse),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    assert server.add_insecure_port(f"[::]:{port}") == port
    server.start()
    server.wait_for_termination()


def check(target):
    with grpc.insecure_channel(target) as channel:
        unary = channel.unary_unary("/test.Echo/Reverse")
        for number in range(50):
            text = f"call {number}".encode()
            assert unary(text, timeout=10) == text[::-1]
        stream = channel.stream_stream("/test.Echo/Chat")
        sent = [bytes([n]) * 1000 for n in range(100)]
        got = list(stream(iter(sent), timeout=20))
        assert got == [message * 2 for message in sent]
    print("grpc ok")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        check(sys.argv[2])
