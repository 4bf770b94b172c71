# Everything is done by `cargo xtask`; these are the few words to remember. Needs Debian 12 or 13 with Rust (rustup),
# and root or sudo to install packages and to assemble the image.

.PHONY: run image test quick audit clean compiler

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# cargo needs a linker before xtask can install anything.
compiler:
	@command -v cc > /dev/null || { $(SUDO) apt-get -q update && $(SUDO) apt-get -q install -y --no-install-recommends gcc libc6-dev; }

# Build what has changed and start a node in QEMU; this terminal becomes its serial console. Ctrl-a x leaves.
run: image
	cargo xtask run

image: compiler
	cargo xtask setup
	cargo xtask image

# Every check, the image included. `make quick` leaves out what boots the image.
test: compiler
	cargo xtask test

quick: compiler
	cargo xtask test --quick

# Known problems of the crates we use; asks a database on the Internet.
audit: compiler
	cargo xtask audit

# The builder root and the image belong to root.
clean:
	cargo xtask clean
