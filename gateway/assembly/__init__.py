"""Which concrete class goes where, part by part; `gateway.app` opens the parts in order."""
