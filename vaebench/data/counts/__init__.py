"""Documents as counts: how often each word of a vocabulary occurs in a document, its words in no order."""
