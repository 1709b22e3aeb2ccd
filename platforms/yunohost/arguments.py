"""What an app asks for before it is installed."""
