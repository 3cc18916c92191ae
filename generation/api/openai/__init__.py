"""OpenAI's image API: its fields, its answers, its models. Who waits for a picture is `qwenstudio/door/pictures.py`."""
