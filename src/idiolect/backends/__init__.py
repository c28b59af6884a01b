"""Language models behind one protocol, :class:`idiolect.types.Backend`; one kind of model a file."""
