"""What the test that kills the server needs: people at work, what they were told, a look at the store."""
