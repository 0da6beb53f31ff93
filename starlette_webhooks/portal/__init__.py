"""The portal, where customers manage their webhooks, and its sessions."""
