graph [
  label "three cities"
  node [ id 0 label "Zürich" Latitude 47.37 Longitude 8.54 ]
  node [ id 1 label "Wien" Latitude 48.21 Longitude 16.37 ]
  node [ id 2 label "München" Latitude 48.14 Longitude 11.58 ]
  edge [ source 0 target 1 LinkLabel "10 Gbps" ]
  edge [ source 1 target 2 LinkLabel "10 Gbps" ]
  edge [ source 2 target 0 LinkLabel "1 Gbps" ]
]
