"""What is computed from answers: captions, answers to questions, rankings, and distances of sets of media."""
