"""What passes between processes: messages, sockets, the instrument's state, tomograms to view."""
