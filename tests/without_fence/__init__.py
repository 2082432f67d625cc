"""An app that takes the protections out of a worker, to prove that the tests notice."""
