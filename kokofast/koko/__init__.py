"""koko's own command line (-d -n -p ...): one link, the quick path. Imports neither an event loop nor typing."""
