"""What stands in packets: decoders of DNS messages and TLS hellos, from bytes to printable text."""
