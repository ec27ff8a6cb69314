"""What streamgauge talks about: entities, values, errors, windows and the clock. No I/O, standard library only."""
