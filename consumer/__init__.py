"""Stage one: the message gateway's pushes become observations. `ingest.py` tells the eight steps and where each is."""
