"""`python -m annotation_api.cli` is `rankloop`."""

from annotation_api.cli.command_line import main

raise SystemExit(main())
