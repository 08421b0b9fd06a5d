"""koko's command line (-d -n -p ...): one link, started fast. Imports neither an event loop nor typing."""
