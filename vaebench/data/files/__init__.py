"""Files of data sets: fetching, checking, reading."""
