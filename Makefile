# Everything is done by `cargo xtask`; these are the few words to remember. Needs Debian 12 or 13 with Rust (rustup),
# and root or sudo to install packages and to assemble the image.

.PHONY: run image test quick audit clean

# Build what has changed and start a node in QEMU; this terminal becomes its serial console. Ctrl-a x leaves.
run: image
	cargo xtask run

image:
	cargo xtask setup
	cargo xtask image

# Every check, the image included. `make quick` leaves out what boots the image.
test:
	cargo xtask test

quick:
	cargo xtask test --quick

# Known problems of the crates we use; asks a database on the Internet.
audit:
	cargo deny check advisories

# The builder root and the image belong to root.
clean:
	cargo xtask clean
