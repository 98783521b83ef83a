"""Documents as counts: how often each word of a vocabulary occurs in a document.

The words are in no order.
"""
