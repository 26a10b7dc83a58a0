"""What tests share: harnesses, stand-ins for shops and servers, crash injection, sample bodies.

No test is here; a test module stands beside the module that it tests.
"""
