"""An app that writes down what the signals say, in the processes that hear them."""
