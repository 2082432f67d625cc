"""The admin in a real browser: Chromium, headless, under a strict Content-Security-Policy."""
