"""What the tests stand on: servers, virtual time, clients that crash, real processes."""
