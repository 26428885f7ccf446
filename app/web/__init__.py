"""The pages at `/ui/`: HTML on the same services as the API, for people. `WEB_UI=false` leaves them out."""
