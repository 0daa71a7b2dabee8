"""Files and arrays of users to what towers take: a module for each kind of sensor."""
