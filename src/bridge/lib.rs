//! The only code that crosses threads: latest-wins slots, bounded mailboxes, wake-ups.
