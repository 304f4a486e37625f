"""The science; it runs alone."""

import logging

# peft loads bitsandbytes wherever it is installed, which then says on some CPUs that a kernel of the hub is missing;
# nothing here asks for that kernel, and who asks for 4 bits has bitsandbytes' own.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
