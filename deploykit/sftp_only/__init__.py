"""What stages do on hosts that have SFTP and no shell: every step may be done twice."""
