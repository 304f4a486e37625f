"""What is done to a thing from its own page: naming it, work on its data. With an error the form comes back there."""
