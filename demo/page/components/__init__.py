"""What the page is made of: the conversation, the field, the list, the panels, the tabs."""
