"""The page that says which loss to use: sentences of ours, with the numbers of the records."""
