"""What surrounds the sections: toolbar, sidebar, status, time bar, time-lapse."""
