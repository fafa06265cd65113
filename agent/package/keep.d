/etc/probity
