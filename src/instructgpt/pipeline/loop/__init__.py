"""The work of a loop: collect, learn, compare, promote; every phase can be killed and goes on."""
