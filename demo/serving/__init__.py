"""What page and server share on the network: guard, keys, connections, listening, and folders that end with them."""
