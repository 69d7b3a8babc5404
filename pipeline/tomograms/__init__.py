"""Makes tomogram files from recordings and volumes: here, in a child process, or on a cluster."""
