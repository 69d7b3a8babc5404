"""Communication between processes: messages, sockets, instrument state, tomogram views."""
