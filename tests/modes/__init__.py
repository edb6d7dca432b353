"""Every public function in the modes that people train in."""
