"""What a user can do in the window: keys, menus, buttons, help and search of one table."""
