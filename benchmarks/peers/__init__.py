"""What is timed, one file each. A file is started as a module and answers over stdin and stdout (`answering.py`)."""
