"""Encoders taken away: `python -m lib.export RUN_OR_FILE --onnx FILE --card FILE`.

portable.py makes a network that other programs can hold; files.py writes and checks it; card.py
says what it is, what it was measured at and what it is not for.
"""
