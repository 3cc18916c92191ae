"""The golden suite's texts: moods and chats, asked with the tasks of two lanes (`docs/releases.md`)."""
