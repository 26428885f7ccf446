"""How processes of the service end, for what starts them."""

# The settings are refused: it is of no use to start the process again (EX_CONFIG of sysexits.h).
CONFIGURATION = 78
