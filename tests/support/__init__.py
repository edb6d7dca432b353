"""What the tests of several rooms use: the array library, what a case is, programs, time."""
