"""The parts around the sections: toolbar, sidebar, status bar, time bar, time-lapse bar."""
