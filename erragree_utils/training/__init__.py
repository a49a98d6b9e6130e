"""How the mini models are made. Nothing else imports this package."""
